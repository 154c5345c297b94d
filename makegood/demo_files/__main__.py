"""Writes the demo's files anew."""

from makegood.demo_files import generate

for path, content in generate().items():
    path.write_text(content, encoding="utf-8")
    print(f"{path.name}: {len(content.splitlines())} lines")

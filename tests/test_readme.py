"""The README's examples, run as they stand there: whoever follows it gets what it says."""

import asyncio
import json
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from makegood.bank import Bank, Corner, own_database
from makegood.roles import ROLES
from makegood.settings import Settings
from tests.conftest import Addresses

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"

EXAMPLES = re.findall(r"```sh\n(.*?)```\n```json\n(.*?)```", README, re.DOTALL)


@pytest.mark.stack
async def test_every_example_answers_as_it_says(stack: Addresses, tmp_path: Path) -> None:
    assert len(EXAMPLES) >= 6
    bash = shutil.which("bash")
    assert bash is not None and shutil.which("curl") is not None
    corner = f"readme_{uuid.uuid4().hex[:8]}"
    where = Corner(stack.bootstrap, await own_database(stack.database_url, corner), f"{corner}-")
    async with Bank(where, tmp_path) as bank:
        for commands, expected in EXAMPLES:
            script = "set -e\n" + commands.replace(ADDRESS, bank.url).replace(
                "\ncurl", "\necho; curl"
            )
            ran = await asyncio.to_thread(
                subprocess.run,
                [bash, "-c", script],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            answer = json.loads(ran.stdout.splitlines()[-1])
            said = json.loads(expected)
            assert {name: answer.get(name) for name in said} == said, commands


def test_compose_starts_every_role_with_settings_that_exist() -> None:
    compose = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"command: run ([a-z-]+)", compose)) == set(ROLES)
    known = {f"MAKEGOOD_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"MAKEGOOD_[A-Z_]+", compose)) <= known


def test_every_file_and_command_that_it_names_is_there() -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", README):
        assert (PROJECT / link).exists(), link
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README):
        assert f"\n{target}:" in makefile, target

"""The command `makegood`; `python -m makegood` is the same."""

import sys


def main() -> None:
    """What Ctrl-C ends while the command is still being loaded ends without a word, too."""
    try:
        from makegood.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

"""`python -m makegood`: the same as the command `makegood`."""

from makegood.cli import main

if __name__ == "__main__":
    main()

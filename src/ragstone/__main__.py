"""`python -m ragstone` is `ragstone`."""

from ragstone.cli.entry import main

if __name__ == "__main__":
    main()

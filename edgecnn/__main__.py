"""The command line as a module: `python -m edgecnn`."""

from edgecnn.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m cirron`: the same program as the console script `cirron`."""

from cirron.cli.main import main

if __name__ == "__main__":
    main()

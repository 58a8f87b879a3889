"""`python -m droplab` is the `droplab` command."""

from droplab.cli import main

if __name__ == "__main__":
    main()

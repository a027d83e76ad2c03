"""The lab's command line, by hand from a checkout: `python cli.py run slow-service --quick`.

Installed, the same commands are called `lab`; they live in `lab/commands/`.
"""

from lab.commands.app import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()

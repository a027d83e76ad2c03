"""The lab's command line from a checkout: `python cli.py run slow-service --quick`.

When installed, the same commands are called `lab`; they are in `lab/commands/`.
"""

from lab.commands.app import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()

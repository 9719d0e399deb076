"""`python -m vonenet` is the `vonenet` command."""

from vonenet.cli import main

main()

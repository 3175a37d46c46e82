"""`python -m omnicdc` is the command `omnicdc`."""

from omnicdc.cli import main

main()

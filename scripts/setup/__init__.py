"""What stands behind the four commands: environments, tests, demo, conversion, the extension's zip. Standard library only."""

"""The command line. It reads what was recorded and records nothing itself."""

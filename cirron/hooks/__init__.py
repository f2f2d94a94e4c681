"""What records a framework's own work, without a line in the user's program."""

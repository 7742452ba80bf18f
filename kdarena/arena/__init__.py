"""The parent process: it trains teachers, tunes, schedules runs and records them."""

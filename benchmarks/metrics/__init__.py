"""Every interpreter, plain and certified, by every metric, in one table."""

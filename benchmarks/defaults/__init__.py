"""Why the defaults are what they are: candidates, a rule, and the chosen one beside the earlier one."""

"""From a command to the values of its runs: request, entrants, budgets, costs, specs."""

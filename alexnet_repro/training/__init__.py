"""Training: recipes, the update rule, the loop, a whole run and its record."""

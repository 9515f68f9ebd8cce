"""Claims: studies, claims and the rule, records, verdicts, sweeps."""

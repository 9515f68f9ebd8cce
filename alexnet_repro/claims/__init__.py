"""What is claimed: studies, claims and the rule, records, verdicts, sweeps."""

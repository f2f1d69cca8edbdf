"""What tests share: models, cases, oracles, and where things lie."""

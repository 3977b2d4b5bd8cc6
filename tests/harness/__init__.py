"""Real parts for the tests: servers that a test session starts for itself and ends again."""

"""Real servers and processes for the tests, started and stopped by the test session."""

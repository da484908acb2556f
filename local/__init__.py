"""The whole system as plain processes on one machine, for the demo and the tests."""

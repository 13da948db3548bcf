"""Exercises of the course: the check engine and one module a topic."""

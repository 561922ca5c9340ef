"""Little of what other casts have much of: for memory that is kept."""

SLEEPERS = 10

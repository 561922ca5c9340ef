"""Little of what other casts have much of: for memory that is kept."""

SLEEPERS = 5
CHAIN = 5

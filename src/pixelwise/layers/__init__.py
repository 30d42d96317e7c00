"""What two or more networks share unchanged."""

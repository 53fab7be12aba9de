"""What has changed between two states of a map, place by place."""

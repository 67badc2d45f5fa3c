"""mini-v1: a small evaluation suite of our own items, in the layout of llm-foundry's local_data."""

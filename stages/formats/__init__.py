"""Readers of raw formats that stages share: what is on disk before there is a document."""

"""The cases of `winnow bench curation`, one file for each kind, and what they share: the corpus and the clock."""

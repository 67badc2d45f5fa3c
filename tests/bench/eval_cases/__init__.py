"""The cases of `winnow bench eval`: compiling requests, the mix that is scored, and scoring beside ways without its savings."""

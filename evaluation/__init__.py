"""The 53-task DCLM evaluation: tasks as data, request compiler, scorer, aggregation, statistics and the leaderboard site."""

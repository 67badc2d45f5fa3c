"""Recipes: functions that return an inert plan of stages. What runs; how and when is for flows/ to say."""

"""Realtime voice sessions for trio."""

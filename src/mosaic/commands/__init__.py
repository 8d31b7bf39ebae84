"""The commands, each a thin function: text into typed values, and one call of a room."""

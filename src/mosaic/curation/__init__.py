"""SemAlign-MS for everyone: pictures of several subjects, references of each, and the points they share."""

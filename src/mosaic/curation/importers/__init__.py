"""Readers of data that exists: folders, Subjects200K, UNO-1M, IMIG-100K, any WebDataset or Parquet."""

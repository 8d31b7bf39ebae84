"""Benchmarks of multi-subject personalisation: pictures made or brought, scored, told with intervals.

records      what a benchmark asks for                    protocols/  the benchmarks, from their own files
features     what is measured once of a picture           metrics/    scores, pure functions of features
scoring      asks → features, resumable, over processes   statistics  means, intervals, paired tests
generating   pictures of our model and of the baselines   report/     JSON, Parquet, Markdown, LaTeX, HTML
"""

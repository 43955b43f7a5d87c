"""What a study needs beside its plan and its words: stored parts, statistics, tables, machine facts, pages.

Plans, contenders and words are in ``benchmarks/`` of the repository.
"""

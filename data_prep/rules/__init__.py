"""What a valid row of ratings is: its columns, ids, values, and rejects."""

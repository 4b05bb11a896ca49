"""The schema's steps: `v<n>.sql` brings a file of version n - 1 to version n."""

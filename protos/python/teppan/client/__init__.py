"""What another backend needs beside the stubs."""

"""What a live server holds: the questions, their searches, and the documents that they come to."""

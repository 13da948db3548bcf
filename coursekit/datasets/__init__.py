"""Where the course's pictures come from: photographs, paintings, the project's own styles."""

"""Where the course's pictures come from: photographs, paintings, digits, emoji, faces, scenes."""

"""What tests share: doubles of servers and models, projects, runs and documents."""

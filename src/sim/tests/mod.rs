mod carriers;
mod races;
mod rules;

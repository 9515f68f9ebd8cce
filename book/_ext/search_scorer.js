/* How search ranks what it finds: as Sphinx does by itself, but a glossary's entry stands behind a page about the term.
   With "var", for Sphinx has one already. */
var Scorer = {
  score: ([page, , , , score]) => (page === "book/glossary" ? Math.min(score, 12) : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

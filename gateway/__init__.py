"""The program of a gateway: joins the cell below it to the cell above. Private; see ``fedtier``."""
